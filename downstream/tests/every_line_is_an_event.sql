-- A warning, or an error if the variable bad_lines is `fail`. It depends on the last models, like days_are_whole.
-- depends_on: {{ ref('devices') }}, {{ ref('sessions') }}, {{ ref('places') }}, {{ ref('page_views') }}, {{ ref('quality') }}
{{ config(severity = 'error' if var('bad_lines') == 'fail' else 'warn') }}
select export_date, blob, line_number, reason
from {{ ref('rejected_events') }}
