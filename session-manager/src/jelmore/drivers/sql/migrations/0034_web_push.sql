-- Web push: a browser's subscription is a webhook whose calls are encrypted for that browser. It is not `enabled`, so that a
-- manager of an earlier version, which would send the event itself, leaves it alone.

alter table webhooks
    add column push_key text,
    add column push_auth text,
    add constraint webhooks_push check ((push_key is null) = (push_auth is null) and (push_key is null or not enabled));
create unique index webhooks_by_browser on webhooks (url) where push_key is not null;

-- The key by which push services know who sends (RFC 8292), as PEM.
create table push_keys (
    only_row boolean primary key default true check (only_row),
    private_key text not null
);
