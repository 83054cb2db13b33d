-- What a boot attempt gave out and was bound to, by round: a round begins with each fetch of the boot script.
CREATE TABLE boot_rounds (
    attempt_id  TEXT NOT NULL,
    round       BIGINT NOT NULL,
    -- Documents that the boot token alone has fetched.
    documents   BIGINT NOT NULL DEFAULT 0,
    -- Ed25519 public key of the round's session, in hex.
    session_key TEXT,
    -- The greatest number that a request of the session carried.
    counter     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (attempt_id, round)
);
CREATE UNIQUE INDEX boot_rounds_key ON boot_rounds (attempt_id, session_key) WHERE session_key IS NOT NULL;
