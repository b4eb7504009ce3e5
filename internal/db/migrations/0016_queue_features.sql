-- What a task asks of the node that runs it, and spaces whose queued tasks do not start.
ALTER TABLE queue ADD COLUMN space TEXT NOT NULL DEFAULT '';
ALTER TABLE queue ADD COLUMN needs TEXT NOT NULL DEFAULT ''; -- labels, sorted, with a space between them
ALTER TABLE queue ADD COLUMN parked BOOLEAN NOT NULL DEFAULT FALSE; -- its space is stopped; no claim looks at it
UPDATE queue SET space = (SELECT t.space FROM task t WHERE t.id = queue.task);

-- The claim of tasks that any node may run stays one range scan; labelled ones are one range for each set of labels.
DROP INDEX queue_ready;
CREATE INDEX queue_ready ON queue (lane, place) WHERE head AND state IN ('queued', 'released') AND needs = '' AND NOT parked;
CREATE INDEX queue_labelled ON queue (needs, lane, place) WHERE head AND state IN ('queued', 'released') AND needs <> '' AND NOT parked;
CREATE INDEX queue_parked ON queue (space, lane, place) WHERE parked;

-- Spaces whose TaskQueueStopped is set. A row that is not stopped any more stays until its tasks are unparked.
CREATE TABLE queue_stop (
  space   TEXT PRIMARY KEY,
  stopped BOOLEAN NOT NULL,
  swept   TEXT NOT NULL, -- tasks up to this one are parked
  done    BOOLEAN NOT NULL -- all are
);
CREATE INDEX queue_stop_now ON queue_stop (space) WHERE stopped;
INSERT INTO queue_stop (space, stopped, swept, done)
  SELECT id, TRUE, '', FALSE FROM document WHERE kind = 'Space' AND doc LIKE '%"TaskQueueStopped":true%';

-- A node's labels are a list of words.
UPDATE node SET labels = '[]';
