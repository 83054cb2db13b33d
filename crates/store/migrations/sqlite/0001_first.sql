-- Times are microseconds since the epoch; documents are JSON text. Only TEXT and BIGINT, so that the same statements
-- serve PostgreSQL.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE clusters (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    plan        TEXT NOT NULL,
    plan_hash   TEXT NOT NULL,
    site        TEXT NOT NULL,
    record      TEXT NOT NULL,
    phase       TEXT NOT NULL,
    living      BIGINT NOT NULL,
    -- What the operator asked for: written by request handlers, never by the loop.
    absent      BIGINT NOT NULL DEFAULT 0,
    form        BIGINT NOT NULL DEFAULT 0,
    retries     BIGINT NOT NULL DEFAULT 0,
    -- Whether that was asked since the loop last began a pass.
    unheard     BIGINT NOT NULL DEFAULT 0,
    next_at     BIGINT NOT NULL,
    event_seq   BIGINT NOT NULL DEFAULT 0,
    owner       TEXT NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    fence       BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX clusters_living_name ON clusters (name) WHERE living = 1;
CREATE INDEX clusters_due ON clusters (next_at) WHERE living = 1;

CREATE TABLE nodes (
    cluster_id TEXT NOT NULL REFERENCES clusters (id),
    server_id  TEXT NOT NULL,
    place      BIGINT NOT NULL,
    record     TEXT NOT NULL,
    phase      TEXT NOT NULL,
    mgmt_ip    TEXT,
    living     BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, server_id)
);
CREATE UNIQUE INDEX nodes_living_server_id ON nodes (server_id) WHERE living = 1;
CREATE UNIQUE INDEX nodes_living_mgmt_ip ON nodes (mgmt_ip) WHERE living = 1 AND mgmt_ip IS NOT NULL;

CREATE TABLE resources (
    cluster_id   TEXT NOT NULL REFERENCES clusters (id),
    server_id    TEXT NOT NULL,
    slot         TEXT NOT NULL,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL,
    cloud_id     TEXT,
    subnet       TEXT NOT NULL,
    address      TEXT,
    in_doubt     BIGINT NOT NULL,
    lookups_left BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, server_id, slot)
);

CREATE TABLE evidence (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id TEXT NOT NULL REFERENCES clusters (id),
    at         BIGINT NOT NULL,
    document   TEXT NOT NULL,
    folded     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX evidence_unfolded ON evidence (cluster_id, id) WHERE folded = 0;

CREATE TABLE events (
    cluster_id TEXT NOT NULL REFERENCES clusters (id),
    seq        BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    server_id  TEXT,
    kind       TEXT NOT NULL,
    phase      TEXT,
    message    TEXT NOT NULL,
    data       TEXT NOT NULL,
    PRIMARY KEY (cluster_id, seq)
);

CREATE TABLE audit (
    seq       BIGINT PRIMARY KEY,
    at        BIGINT NOT NULL,
    who       TEXT NOT NULL,
    action    TEXT NOT NULL,
    target    TEXT NOT NULL,
    source    TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
);
