-- API tokens. Of the token itself only its SHA-256: it is 256 random bits, so nothing slower is needed and nothing is
-- told by it. A row is never deleted: the audit names it.
CREATE TABLE api_tokens (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL,
    -- JSON: null for all clusters, or their names.
    clusters     TEXT NOT NULL,
    hash         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    -- The largest number there is, for one that doesn't end by itself.
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL;
