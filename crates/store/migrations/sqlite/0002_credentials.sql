-- The passwords of a cluster's accounts, each sealed for its cluster and account under a key that isn't in here. A row is
-- written once and never changed.
CREATE TABLE credentials (
    cluster_id TEXT NOT NULL REFERENCES clusters (id),
    account    TEXT NOT NULL,
    user_name  TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, account)
);
