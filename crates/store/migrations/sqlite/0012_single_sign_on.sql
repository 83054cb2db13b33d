-- Of a session by the OpenID provider: by whom it is there, and by which configuration it has its role. Both are null for a user
-- with a password; sessions that are older than this have neither, and end at the next start.
ALTER TABLE web_sessions ADD COLUMN subject TEXT;
ALTER TABLE web_sessions ADD COLUMN provider TEXT;
