-- Schema version 5: which devices have changed since when, for processes that share a store.

-- The number of the last change to a device (added, disabled or enabled, new key): one more than any before it. The write
-- lock makes the order of the numbers that of the commits.
ALTER TABLE device ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
CREATE INDEX device_change ON device (change);
