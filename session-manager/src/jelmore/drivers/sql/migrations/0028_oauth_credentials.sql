-- A credential is a value, or a client of an authorization server whose access tokens the gateway asks for. A manager
-- of an earlier version sets values only, and its insert leaves the kind out.

alter table credentials add column kind text not null default 'value' check (kind in ('value', 'oauth'));
