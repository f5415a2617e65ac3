"""Views with stable names for dashboards and reviewers, and the index that a range of days needs.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The newest label of each event. Labels are few beside feedback: they are read as a whole and hashed.
_NEWEST_LABEL = """
    SELECT DISTINCT ON (event_id) event_id, category, sentiment, constructive, labelled_at
    FROM labels
    ORDER BY event_id, labelled_at DESC, id DESC
"""

_FEEDBACK_DAILY = f"""
CREATE VIEW feedback_daily AS
SELECT
    (f.occurred_at AT TIME ZONE 'UTC')::date AS day,
    f.source,
    f.product,
    coalesce(l.category, f.category) AS category,
    coalesce(l.sentiment, f.sentiment) AS sentiment,
    count(*) AS feedback_count,
    count(*) FILTER (WHERE coalesce(l.constructive, f.constructive) = 'yes') AS constructive_count,
    count(*) FILTER (WHERE f.needs_review) AS needs_review_count,
    count(l.event_id) AS labelled_count,
    count(f.rating) AS rating_count,
    avg(f.rating)::double precision AS mean_rating,
    avg((f.category_scores ->> coalesce(l.category, f.category))::double precision) AS mean_category_score,
    avg((f.sentiment_scores ->> coalesce(l.sentiment, f.sentiment))::double precision) AS mean_sentiment_score,
    avg((f.constructive_scores ->> coalesce(l.constructive, f.constructive))::double precision)
        AS mean_constructive_score
FROM feedback AS f
LEFT JOIN ({_NEWEST_LABEL}) AS l USING (event_id)
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608 (constants)

_REVIEW_QUEUE = """
CREATE VIEW review_queue AS
SELECT
    f.event_id,
    f.occurred_at,
    f.stored_at,
    f.source,
    f.product,
    f.language,
    f.rating,
    f.text,
    f.flags,
    f.category,
    (f.category_scores ->> f.category)::double precision AS category_score,
    f.sentiment,
    (f.sentiment_scores ->> f.sentiment)::double precision AS sentiment_score,
    f.constructive,
    (f.constructive_scores ->> f.constructive)::double precision AS constructive_score,
    f.queue,
    f.priority,
    CASE f.priority WHEN 'urgent' THEN 1 WHEN 'high' THEN 2 WHEN 'normal' THEN 3 ELSE 4 END AS priority_rank,
    f.suggested_reply,
    f.model_name,
    f.model_version
FROM feedback AS f
WHERE f.needs_review AND NOT EXISTS (SELECT FROM labels AS l WHERE l.event_id = f.event_id)
ORDER BY priority_rank, f.occurred_at, f.event_id
"""

_CONSTRUCTIVE_FEEDBACK = f"""
CREATE VIEW constructive_feedback AS
SELECT
    f.event_id,
    f.occurred_at,
    f.source,
    f.product,
    f.language,
    f.rating,
    f.text,
    coalesce(l.category, f.category) AS category,
    (f.category_scores ->> coalesce(l.category, f.category))::double precision AS category_score,
    coalesce(l.sentiment, f.sentiment) AS sentiment,
    (f.sentiment_scores ->> coalesce(l.sentiment, f.sentiment))::double precision AS sentiment_score,
    (f.constructive_scores ->> 'yes')::double precision AS constructive_score,
    f.queue,
    f.priority,
    f.suggested_reply,
    f.needs_review,
    l.labelled_at
FROM feedback AS f
LEFT JOIN ({_NEWEST_LABEL}) AS l USING (event_id)
WHERE coalesce(l.constructive, f.constructive) = 'yes'
"""  # noqa: S608

_COMMENTS = {
    "feedback_daily": "Counts and means by UTC day of occurred_at. Holds no text.",
    "review_queue": "What the model is unsure of and nobody has labelled, most urgent and then oldest first.",
    "constructive_feedback": "Messages with a suggestion that their receiver could act on, people''s labels first.",
}


def upgrade() -> None:
    """Create the index and the views. They read with their owner's rights: a reader needs none on the tables."""
    op.create_index("ix_feedback_day", "feedback", [sa.literal_column("((occurred_at AT TIME ZONE 'UTC')::date)")])
    for statement in (_FEEDBACK_DAILY, _REVIEW_QUEUE, _CONSTRUCTIVE_FEEDBACK):
        op.execute(statement)
    for name, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON VIEW {name} IS '{comment}'")


def downgrade() -> None:
    """Drop them."""
    for name in _COMMENTS:
        op.execute(f"DROP VIEW {name}")
    op.drop_index("ix_feedback_day", table_name="feedback")
