-- name: add_ticket
-- Stores a ticket by its digest, and removes those that have run out.
with outdated as (
    delete from stream_tickets where expires_at < clock_timestamp()
)
insert into stream_tickets (digest, key_id, session_id, expires_at)
values (:digest, :key_id, :session_id, clock_timestamp() + make_interval(secs => :ttl_s))
returning expires_at;

-- name: take_ticket
-- Removes a ticket, and returns whose it is. Of two takers one gets it.
delete from stream_tickets where digest = :digest and expires_at >= clock_timestamp() returning key_id, session_id;
