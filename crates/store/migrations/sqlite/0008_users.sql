-- People. Of a password only its Argon2id hash, as a PHC string with the parameters that it was made with.
CREATE TABLE users (
    name            TEXT PRIMARY KEY,
    role            TEXT NOT NULL,
    -- JSON: null for all clusters, or their names.
    clusters        TEXT NOT NULL,
    password        TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by      TEXT NOT NULL,
    password_set_at BIGINT NOT NULL,
    last_login_at   BIGINT
);

-- Their sessions, and those of people whom an OpenID provider knows. Of the cookie only its SHA-256: it is 256 random bits.
-- One that is over is deleted: the audit has both of its ends.
CREATE TABLE web_sessions (
    hash         TEXT PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    who          TEXT NOT NULL,
    name         TEXT NOT NULL,
    -- Null: nobody of `users`.
    user_name    TEXT REFERENCES users (name) ON DELETE CASCADE,
    role         TEXT NOT NULL,
    clusters     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    ends_at      BIGINT NOT NULL
);
CREATE INDEX web_sessions_who ON web_sessions (who, created_at);
