-- Signed statements of how far the audit reached, and what it held up to there. The file `audit.heads` beside the database
-- has them too, and first: what this table says and the file lacks was taken from the file.
CREATE TABLE audit_heads (
    seq       BIGINT PRIMARY KEY,
    hash      TEXT NOT NULL,
    at        BIGINT NOT NULL,
    prev      TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    signature TEXT NOT NULL
);

-- Against our own mistakes; whoever can edit the file can drop these, and is found by the hashes.
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
