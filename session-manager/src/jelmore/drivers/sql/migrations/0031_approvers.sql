-- People who may answer what a session waits for, but not prompt it.
alter table participants
    drop constraint participants_role_check,
    add constraint participants_role_check check (role in ('owner', 'editor', 'approver', 'viewer'));
alter table invites
    drop constraint invites_role_check,
    add constraint invites_role_check check (role in ('editor', 'approver', 'viewer'));
