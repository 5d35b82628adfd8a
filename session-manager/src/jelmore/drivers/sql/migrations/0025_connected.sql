-- Whether the session got the agent that its warm sandbox had connected ahead. A column of its own, because older code
-- does not know another value of `warm_start`; it ignores this one.

alter table sessions add column agent_connected boolean not null default false;
