-- Whose options the agent of a member was started with. Older code adds members of the default profile, and lets a create
-- claim a member of any: its session then starts an agent of its own.

alter table pool add column profile text not null default 'default';
