-- A node's row outlives its deletion: a later node of the name gets a higher epoch, and one that is deleted while it
-- runs comes back as it was.
ALTER TABLE node ADD COLUMN deleted BIGINT;                         -- when; nobody sees the row any more
ALTER TABLE node ADD COLUMN retire BOOLEAN NOT NULL DEFAULT FALSE;  -- was deleted while it drained: goes for good when it stops
ALTER TABLE node ADD COLUMN gone BIGINT;                            -- when it stopped or was declared dead
UPDATE node SET gone = registered WHERE state <> 'up';

-- Handlers that live in the node's process, at its last beat.
ALTER TABLE node_beat ADD COLUMN runs BIGINT NOT NULL DEFAULT 0;

ALTER TABLE duty ADD COLUMN every BIGINT NOT NULL DEFAULT 0;        -- milliseconds
ALTER TABLE duty ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE duty ADD COLUMN node TEXT NOT NULL DEFAULT '';          -- who did it last
ALTER TABLE duty ADD COLUMN known BIGINT NOT NULL DEFAULT 0;        -- when a leader last knew it
UPDATE duty SET known = next;

-- The last times of each duty.
CREATE TABLE duty_run (
  duty    TEXT NOT NULL REFERENCES duty (name) ON DELETE CASCADE,
  started BIGINT NOT NULL,
  term    BIGINT NOT NULL,
  node    TEXT NOT NULL,
  ended   BIGINT,
  error   TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (duty, started, term)
);
