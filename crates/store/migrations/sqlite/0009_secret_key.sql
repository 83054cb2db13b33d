-- Boot tokens that were given out under an earlier secret key, each sealed for its attempt: machines still have them.
-- Written anew with every change of that key, for the attempts that are open then. The key's own name is in `meta`.
CREATE TABLE kept_boot_tokens (
    attempt_id TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL
);
