-- The driver that the operator's last retry asked for, in place of the plan's.
ALTER TABLE clusters ADD COLUMN formation TEXT;
