{#- A business rule: the expression is true for every row. NULL counts as broken; write the rule so that it decides. -#}
{% test holds(model, expression) %}
select *
from {{ model }}
where ({{ expression }}) is not true
{% endtest %}
