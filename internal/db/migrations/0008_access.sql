-- Keys by which programs act as users. The key itself is not kept, only its hash: 128 random bits need no slow one.
CREATE TABLE api_key (
  id       TEXT PRIMARY KEY,
  user_id  TEXT NOT NULL,
  purpose  TEXT NOT NULL,
  hash     TEXT NOT NULL UNIQUE, -- SHA-256, hexadecimal
  hint     TEXT NOT NULL,        -- the first characters, so that a person knows which one it is
  created  BIGINT NOT NULL,
  expires  BIGINT
);
CREATE INDEX api_key_user ON api_key (user_id);

-- Passwords, apart from the users' documents, so that no answer can hold one.
CREATE TABLE password (
  user_id TEXT PRIMARY KEY,
  hash    TEXT NOT NULL,  -- argon2id, PHC form
  changed BIGINT NOT NULL
);
