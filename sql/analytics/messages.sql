-- Numbers and outcomes of messages, for each period and group; one row if there are no groups.
--   sent, delivered, read, failed    outbound messages. Their status may arrive late or go backwards, so the times of delivery and
--                                    reading count, too. Read implies delivered, and delivered implies sent.
--   bot_share                        share of the outbound messages that the assistant wrote.
--   replies, reply_seconds_median    inbound messages with a later outbound message to the same number that did not fail, and the
--                                    time until it. The filter does not apply to the reply. Several messages may share a reply.
--   types                            number of messages by type
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
