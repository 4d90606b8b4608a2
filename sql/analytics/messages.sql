-- How many messages there were, and what became of them: for each period and group, or as one row where there are none.
--   sent, delivered, read, failed    of the outbound ones. Their status may come late and go back, so that a time of delivery or of
--                                    reading counts as well. What was read was delivered, and what was delivered was sent
--   bot_share                        of the outbound ones, those that the assistant wrote
--   replies, reply_seconds_median    to inbound messages: until the next outbound one that did not fail, to the same number, whether the
--                                    filter lets that one through or not. Several inbound ones may have one reply
--   types                            how many there are of each type
SELECT {{columns}}
       count(*) AS messages, count(*) FILTER (direction = 'inbound') AS inbound, count(*) FILTER (direction = 'outbound') AS outbound,
       count(*) FILTER (direction = 'outbound' AND (was_delivered OR status = 'sent')) AS sent,
       count(*) FILTER (direction = 'outbound' AND was_delivered) AS delivered,
       count(*) FILTER (direction = 'outbound' AND was_read) AS read,
       count(*) FILTER (direction = 'outbound' AND status = 'failed') AS failed,
       count(*) FILTER (direction = 'outbound' AND is_from_bot) / nullif(count(*) FILTER (direction = 'outbound'), 0) AS bot_share,
       count(replied_at) AS replies, median(date_diff('millisecond', created_at, replied_at)) / 1000 AS reply_seconds_median,
       coalesce(histogram(message_type), MAP {}) AS types
FROM (SELECT *, coalesce(status = 'read' OR read_at IS NOT NULL, false) AS was_read, coalesce(was_read OR status = 'delivered' OR delivered_at IS NOT NULL, false) AS was_delivered
      FROM (SELECT *, {{local}} AS local FROM ({{rows}}))
      ASOF LEFT JOIN (SELECT customer_number AS replied_to, created_at AS replied_at, 'inbound' AS replied FROM messages
                      WHERE direction = 'outbound' AND status IS DISTINCT FROM 'failed')
      ON direction = replied AND customer_number = replied_to AND created_at <= replied_at)
{{grouping}}
