-- Tasks that ask a person something are few, and looked for among all that are queued.
CREATE INDEX queue_asking ON queue (task) WHERE interruptions <> '';
-- Why a task that has begun was cancelled; its end says it.
ALTER TABLE queue ADD COLUMN reason TEXT NOT NULL DEFAULT '';
