-- Whether the round's session was begun over TLS: then it is continued over nothing else.
ALTER TABLE boot_rounds ADD COLUMN over_tls BOOLEAN NOT NULL DEFAULT FALSE;
