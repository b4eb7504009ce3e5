-- Agents: which certificates are ours, and whom we trust. Owner: hub.

CREATE TABLE comms_certificate (
  name   TEXT PRIMARY KEY,
  sealed {{bytes}} NOT NULL -- certificate and private key, PEM, sealed with the master key
);

CREATE TABLE agent_trust (
  machine    TEXT PRIMARY KEY,
  address    TEXT NOT NULL, -- https://host:port/ or poll://subscription/
  thumbprint TEXT NOT NULL, -- SHA-1, upper-case hex
  changed    BIGINT NOT NULL
);
CREATE INDEX agent_trust_address ON agent_trust (address);
