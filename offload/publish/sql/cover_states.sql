{% import '_states.sql' as gold %}
{{ gold.states('(' ~ rows ~ ')', timeframes) }}
