-- Agents: which certificates are ours, and whom we trust. Owner: hub.

CREATE TABLE comms_certificate (
  name   TEXT PRIMARY KEY,
  secret TEXT NOT NULL -- certificate and private key, PEM: a row of secret
);

CREATE TABLE agent_trust (
  machine    TEXT PRIMARY KEY,
  address    TEXT NOT NULL, -- https://host:port/ or poll://subscription/
  thumbprint TEXT NOT NULL, -- SHA-1, upper-case hex
  changed    BIGINT NOT NULL
);
CREATE INDEX agent_trust_address ON agent_trust (address);
