-- Which tokens of a session still count: those with an epoch at least this high. It rises when tokens are rotated and when
-- an ended session is resumed. `tokens_rotated_at` lets every manager find recent rotations. Older code leaves both alone.

alter table sessions
    add column token_epoch integer not null default 0,
    add column tokens_rotated_at timestamptz;

create index sessions_tokens_rotated on sessions (tokens_rotated_at) where tokens_rotated_at is not null;
