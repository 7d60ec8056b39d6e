#!/usr/bin/env python3
"""Writes tests/text/goldens/chat.json: chat templates of the kinds that models come with and snippets of the
template language, with what the `transformers` library makes of them, or that it is an error.

usage: make_chat_goldens.py      (needs `pip install transformers jinja2`)
"""
import json
import os
import random
import sys

from transformers.utils.chat_template_utils import render_jinja_template

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Größe? 日本 <b>"},
     {"role": "assistant", "content": "  Yes. "}, {"role": "user", "content": "Bye"}],
    [{"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "image"},
                                  {"type": "text", "text": " this?"}]}],
    [{"role": "user", "content": "Weather?"},
     {"role": "assistant", "content": None, "reasoning": "I must ask.", "tool_calls": [
         {"id": "c1", "type": "function",
          "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2, "units": None}}}]},
     {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "{\"t\": 21.5}"},
     {"role": "assistant", "content": "<think>hm</think>\nIt is 21.5."}],
]
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "Tells the \"weather\" & more", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"]}}}]

TEMPLATES = {
    "chatml": """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + (message.content or '')|string + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
""",
    "inst": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.tool_calls is defined or message.role == 'tool') %}
        {%- if (message['role'] == 'user') != (ns.index % 2 == 0) %}
            {{- raise_exception('roles must alternate') }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{%- for message in loop_messages if message.content is string %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- '[INST] <<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- '[INST] ' ~ message['content'].strip() ~ ' [/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {%- generation %}{{ ' ' + message['content'] | trim + eos_token }}{%- endgeneration %}
    {%- endif %}
{%- endfor %}""",
    "headers with tools": """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
{{- "Environment: ipython\\n" }}
{%- for t in tools %}
    {{- t | tojson(indent=4) }}
    {{- "\\n\\n" }}
{%- endfor %}
{%- endif %}
{{- "Today: " + date_string + "\\n" }}
{%- for message in messages %}
    {%- if message.role == 'tool' or message.role == 'ipython' %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- elif 'tool_calls' in message and message.tool_calls %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {%- if message.content is string %}{{ message.content | trim }}
        {%- else %}{% for part in message.content %}{{ part.text if part.type == 'text' else '<' + part.type + '>' }}{% endfor %}
        {%- endif %}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    "xml tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    "turns": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' }}{% if message['content'] is string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}""",
    "macros": """{%- macro render_type(name, spec, depth=0) -%}
{{ '  ' * depth }}{{ name }}: {{ spec.type }}{% if spec.required %} ({{ spec.required | join(', ') }}){% endif %}

{%- if spec.properties %}{% for key, value in spec.properties.items() %}

{{ render_type(key, value, depth + 1) }}{% endfor %}{% endif %}
{%- endmacro %}
{%- macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}
{%- for tool in tools or [] %}
{%- call wrap('tool') %}{{ render_type(tool.function.name, tool.function.parameters) }}{% endcall %}
{%- endfor %}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}
{%- set others = messages | rejectattr('role', 'in', ['user', 'system']) | map(attribute='role') | unique | join('/') %}
{{ users | length }} {{ others }} {{ messages | map(attribute='role') | map('upper') | list }}
{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ loop.index }}/{{ loop.length }} {{ loop.revindex }} {{ loop.cycle('a', 'b') }} {{ loop.previtem.role if loop.previtem else '-' }} {{ loop.nextitem.role if loop.nextitem is defined else '+' }}
{% else %}none{% endfor %}""",
}

SNIPPETS = [
    # white space control
    "a\n  {% if true %}  \n  b\n  {% endif %}\n c", "a {%- if true -%} b {%- endif -%} c",
    "a\n {%+ if true %}b{% endif +%}\nc", "  {# note #}\nx {#- y -#} z\n", "{{ 1 }}\n{{ 2 }}\n\n",
    "{% raw %} {{ x }} {% endraw %}\ny", "a\r\nb\rc", "x{% raw -%}  {% if %} {%- endraw %} y",
    "{%- for i in [1,2] -%}\n {{ i }}\n{%- endfor -%}", "{% set x %}\n a {{ 1 }}\n{% endset %}[{{ x }}]",
    # literals and their texts
    "{{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }} {{ 100.0 }} {{ 1e16 }} {{ 123456.789 }}",
    "{{ true }} {{ None }} {{ 'a' 'b' }} {{ \"q'\\n\\t\\\\\\x41\\u00e9\" }} {{ [1, 'a', \"it's\", None, True, 2.5] }}",
    "{{ (1,) }} {{ () }} {{ {'a': [1], 2: 'x\\ny'} }} {{ 'é日' }} {{ ['é', '\\x7f', '\\n'] }}",
    "{{ 1_000 }} {{ x }}|{{ x is defined }}|{{ x or 'd' }}",
    # operators
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }}",
    "{{ 1 + 2 ~ 3 * 2 }} {{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ '%s-%d-%.2f-%5s|%-4s|%03d' % ('a', 3, 1.5, 'x', 'y', 7) }}",
    "{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 1 in [1] }} {{ 'x' not in 'abc' }} {{ 'a' in {'a': 1} }}",
    "{{ not true and false or true }} {{ 1 if false }}|{{ 1 if false else 2 if true else 3 }}",
    "{{ -1|abs }} {{ -(1)|string }} {{ 1 and 0 }} {{ '' or 'x' }} {{ [] == [] }} {{ (1, 2) == [1, 2] }}",
    # subscripts and slices
    "{{ 'hello'[1:3] }} {{ 'hello'[::-1] }} {{ [1,2,3,4][-2:] }} {{ [1,2,3][5:] }} {{ 'héllo'[1] }} {{ [1,2,3,4,5][::2] }} {{ [1,2,3][::-2] }} {{ 'abc'[-10:2] }} {{ [1][7] }}|",
    "{{ {'a': {'b': 3}}.a.b }} {{ {'a': 1}['a'] }} {{ {'items': 1}['items'] }} {{ {'a': 1}.get('b', 'no') }} {{ {'a': 1}.get('b') }} {{ {'a': 1, 'b': 2}.items() | list }} {{ {'b': 1}.keys() | list }}",
    # statements
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}-{{ b }};{% endfor %}{% for x in {'k': 1} %}{{ x }}{% endfor %}{% for c in 'ab' %}{{ c }}{% endfor %}",
    "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}:{{ x }} {% else %}no{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}",
    "{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{{ a }}{% endfor %}{{ a }}{% if true %}{% set a = 3 %}{% endif %}{{ a }}",
    "{% set ns = namespace(x=1, y=[]) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% set ns.y = ns.y + [i] %}{% endfor %}{{ ns.x }} {{ ns.y }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% with c = a + 1, d = 5 %}{{ c }}{{ d }}{% endwith %}{{ c }}",
    "{% macro m(a, b='x') %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}{{ m(1, 2, 3, z=4) }}{{ m() }}",
    "{% macro fact(n) %}{{ 1 if n < 2 else n * fact(n - 1)|int }}{% endmacro %}{{ fact(6) }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}{% set t | trim | upper %}  x {% endset %}[{{ t }}]",
    "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% elif i > 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(2, 9, 3) | list }}{{ range(5, 0, -2) | list }}",
    "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.depth }}{% for j in [1] %}{{ loop.depth }}{% endfor %}{% endfor %}",
    "{% set j = joiner('|') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}",
    # filters
    "{{ '  x ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'a b' | replace(' ', '_') }}|{{ 'aaa' | replace('a', 'b', 2) }}|{{ 'ab' | reverse }}|{{ [1,2] | reverse | list }}",
    "{{ 'hello wORLD foo-bar' | title }}|{{ 'hELLO' | capitalize }}|{{ 'é' | upper }}|{{ 'ÀB' | lower }}|{{ 'straße' | upper }}|{{ 'they''re' | title }}",
    "{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [1, 2] | sort(reverse=true) }} {{ [{'a': 2}, {'a': 1}] | sort(attribute='a') }}",
    "{{ [1, 2, 3] | first }} {{ [1, 2, 3] | last }} {{ [] | first }}| {{ [1, 2] | sum }} {{ [{'a': 2}, {'a': 3}] | sum(attribute='a') }} {{ [3, 1] | min }} {{ [3, 1] | max }} {{ ['a', 'B'] | max }}",
    "{{ {'b': 1, 'a': [2, {'c': none}], 'x': 1.5, 'u': 'ü\"\\n'} | tojson }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, {'a': []}] | tojson(indent=2) }} {{ 'é' | tojson(ensure_ascii=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }}",
    "{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | indent(width='> ', blank=true) }}",
    "{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(3) | list }} {{ [1, 2, 3] | slice(2, 'x') | list }}",
    "{{ [{'r': 'a', 'v': 1}, {'r': 'b', 'v': 2}, {'r': 'a', 'v': 3}] | groupby('r') | map('last') | list | length }} {% for r, g in [{'r': 'b'}, {'r': 'a'}] | groupby('r') %}{{ r }}{{ g | length }}{% endfor %}",
    "{{ '42' | int }} {{ '4.7' | int }} {{ 'x' | int(9) }} {{ 4.7 | int }} {{ '1.5' | float }} {{ 'x' | float(2.5) }} {{ 'ff' | int(base=16) }} {{ 2.5 | round }} {{ 3.14159 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ 1234 | round(-2) }}",
    "{{ x | default('d') }} {{ '' | default('d', true) }} {{ none | default('d') }} {{ 0 | d(1, boolean=true) }} {{ {'a': 1, 'b': 2} | length }} {{ 'né' | length }} {{ [1, 2] | count }}",
    "{{ ['a', 'b', 'A'] | unique | list }} {{ [1, 2, 3, 4] | select('even') | list }} {{ [1, 2, 3] | reject('gt', 2) | list }} {{ [0, 1, ''] | select | list }} {{ ['a', 'b'] | map('upper') | join('-') }}",
    "{{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1} | items | list }} {{ '<a&\"b\\'>' | e }} {{ 'a b c' | wordcount }} {{ '%s!' | format('x') }} {{ 'x' | center(5) }}|",
    "{{ [{'a': {'b': 1}}, {'a': {}}] | map(attribute='a.b', default='no') | list }} {{ [[1, 2]] | map('first') | list }} {{ 'a,b' | attr('upper') is callable }} {{ 5 | string | length }} {{ 'abc' | list }}",
    # tests
    "{{ 1 is odd }} {{ 2 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ [] is iterable }} {{ 1 is number }} {{ true is boolean }} {{ none is none }} {{ 1.0 is float }} {{ 1 is integer }} {{ true is integer }}",
    "{{ 1 is eq 1 }} {{ 1 is not none }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ x is undefined }} {{ 2 is in [1, 2] }} {{ true is true }} {{ 1 is sameas 1 }} {{ 3 is gt 2 }} {{ 3 is le(2) }} {{ not x is defined }} {{ namespace is callable }}",
    # methods
    "{{ ' a '.strip() }}|{{ 'xay'.strip('xy') }}|{{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b c d'.split(none, 2) }} {{ 'a\\nb\\r\\nc'.splitlines() }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'éa'.find('a') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'abab'.count('ab') }} {{ '-'.join(['a', 'b']) }} {{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}",
    "{{ 'ab c'.title() }} {{ 'AB'.lower() }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ ' '.isspace() }} {{ 'a'.isalpha() }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }} {{ 'ab'.center(5, '*') }} {{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }}",
    "{{ 'a.b'.split('.')|last }} {{ ('x' ~ 1).upper() }} {{ [1,2,3][1:]|length }} {{ (messages|first).role }} {{ messages[-1]['role'] }} {{ messages[0].nothing is defined }} {{ dict(a=1, b=2) }} {{ {'a': 1}.values()|list }}",
    # errors
    "{{ x.y }}", "{{ 1 / 0 }}", "{{ 1 + 'a' }}", "{% if %}", "{{ 'a }}", "{% for x in 5 %}{% endfor %}", "{{ raise_exception('no') }}",
    "{% endif %}", "{{ x() }}", "{{ [1] < 2 }}", "{% unknown %}", "{{ 'a' | nofilter }}", "{{ 1 is notest }}", "{{ (1 }}", "{% set x.y = 1 %}", "{{ range(1000000) | length }}", "{{ 'x'.nomethod() }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


def main():
    cases = []

    def add(name, template, chat, **options):
        case = {"name": name, "template": template, "messages": chat, **options}
        try:
            rendered, _ = render_jinja_template(
                conversations=[chat], chat_template=template, tools=options.get("tools"),
                add_generation_prompt=options.get("add_generation_prompt", False), bos_token="<s>",
                eos_token="</s>", **options.get("variables", {}))
            case["text"] = rendered[0]
        except RecursionError:
            case["error"] = True
        except Exception as error:
            case["error"] = True
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        cases.append(case)

    for name, template in TEMPLATES.items():
        for i, chat in enumerate(CHATS):
            add(f"{name} {i}", template, chat, add_generation_prompt=i % 2 == 0)
        add(f"{name} with tools", template, CHATS[3], tools=TOOLS, add_generation_prompt=True)
    add("no thinking", TEMPLATES["xml tools"], CHATS[0], add_generation_prompt=True,
        variables={"enable_thinking": False})
    for i, snippet in enumerate(SNIPPETS):
        add(f"snippet {i}", snippet, CHATS[0])
    with open(os.path.join(ROOT, "tests", "text", "goldens", "chat.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")


if __name__ == "__main__":
    random.seed(1)
    main()
