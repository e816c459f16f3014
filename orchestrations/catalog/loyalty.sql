-- One row per customer. Built-in attributes of a Zendesk user by their own name, custom fields
-- as "user_fields.<key>". The columns of a CSV file are text: CAST says what a number is.
SELECT
    customer_id                                        AS external_id,
    name,
    email,
    phone,

    -- loyalty
    loyalty_tier                                       AS "user_fields.loyalty_tier",
    CAST(loyalty_points AS INTEGER)                    AS "user_fields.loyalty_points",

    -- order history
    CAST(orders_count AS INTEGER)                      AS "user_fields.orders_count",
    CAST(last_order_on AS DATE)                        AS "user_fields.last_order_on",
    CAST(lifetime_value AS DECIMAL(10, 2))             AS "user_fields.lifetime_value",
    favorite_category                                  AS "user_fields.favorite_category",

    -- what they told us
    CAST(survey_score AS INTEGER)                      AS "user_fields.survey_score",
    string_split(preferences, '|')                     AS "user_fields.preferences",
    coalesce(contains(preferences, 'email'), FALSE)    AS "user_fields.prefers_email",
    city                                               AS "user_fields.city",

    -- what we make of it
    CAST(churn_risk AS DECIMAL(4, 3))                  AS "user_fields.churn_risk",
    CASE
        WHEN CAST(churn_risk AS DECIMAL(4, 3)) > 0.8 THEN 'offer free shipping'
        WHEN CAST(survey_score AS INTEGER) <= 4 THEN 'ask what went wrong'
        ELSE 'suggest ' || favorite_category
    END                                                AS "user_fields.next_best_action"
FROM customers

-- Of rows with the same customer_id the last one is sent: the one with the latest order.
ORDER BY CAST(last_order_on AS DATE) NULLS FIRST, customer_id
