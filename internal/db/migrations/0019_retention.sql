-- What the leader's duties remember. Owners: engine, and feed for package_blob.

-- When the machines of a policy were last asked how they are, so that a new leader does not ask all again (deployments.md M1).
CREATE TABLE health_schedule (
  policy TEXT PRIMARY KEY,
  last   BIGINT NOT NULL, -- when the last check was due, or when the policy was first seen
  task   TEXT NOT NULL    -- the last check; '' before the first
);

-- Since when a machine cannot be reached, without a break (deployments.md M2).
CREATE TABLE machine_outage (
  machine TEXT PRIMARY KEY,
  since   BIGINT NOT NULL
);

-- Content whose rows retention has deleted; it follows after a grace.
CREATE TABLE dropped_blob (
  key   TEXT PRIMARY KEY,
  since BIGINT NOT NULL
);
CREATE INDEX dropped_blob_since ON dropped_blob (since);
CREATE INDEX artifact_blob ON artifact (blob);

-- How far a check of the built-in repository has come, so that its next owner goes on there.
CREATE TABLE repository_check (
  task     TEXT PRIMARY KEY,
  position TEXT NOT NULL,   -- the last content that was read
  contents BIGINT NOT NULL, -- how many were read
  bytes    BIGINT NOT NULL,
  bad      BIGINT NOT NULL
);

-- What the last check found wrong with a package's content; '' is nothing.
ALTER TABLE package_blob ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
