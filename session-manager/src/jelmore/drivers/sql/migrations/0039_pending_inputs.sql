-- Inputs that a hibernated session has accepted, and that no runner has journaled yet. Older code leaves them alone: a
-- manager of this version delivers them when it next looks at the session.

alter table sessions add column pending_inputs jsonb not null default '[]';
