"""How an order to an assistant is worded: patterns that are features of the detector's heads."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_RULES = (
    r"(?:instruction|rule|guideline|direction|directive|order|prompt|command|polic(?:y|ies)|restriction|"
    r"programming|training|constraint|limitation|filter|message|conversation|context|system prompt)s?"
)
BEFORE = r"(?:previous|prior|preceding|above|earlier|past|former|initial|original|existing|other|current)"
_SECRET = (
    r"(?:(?:system|initial|original|hidden|secret|developer|first|full)[ -]+(?:prompts?|messages?|"
    r"instructions?|rules?)|prompt|instructions?|secret (?:word|key)|configuration|"
    r"(?:api|secret|access)[ -]?(?:keys?|tokens?)|(?:admin|root|database)[ -]?(?:passwords?|tokens?))"
)
_ANSWER = r"(?:answers?|respon[sd]\w*|repl(?:y|ies|ying)|outputs?|explanations?|elucidation|solutions?)"
_DROP = (
    r"(?:ignor(?:e|es|ing)|disregard(?:ing)?|forget|overrid(?:e|es|ing)|bypass|neglect|discard|drop|cancel|"
    r"skip|abandon|do not follow|don't follow|stop following|pay no attention to|no longer (?:follow|obey))"
)

STRICT = (
    r"(?:instructions?|directions|directives?|guidelines?|prompts?|programming|restrictions|orders|rules|"
    r"system message)"
)

PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.S)
    for name, pattern in {
        "override": rf"\b{_DROP}\b.{{0,30}}?\b(?:{BEFORE}|all|any|every|your|the|these|those)\b"
        rf".{{0,30}}?\b(?:{_RULES}|everything|told|said)\b",
        "override_before": rf"\b(?:ignore|disregard|forget|override|discard|do not follow|don't follow|stop "
        rf"following)\b.{{0,25}}?\b{BEFORE}\b.{{0,20}}?\b{STRICT}\b|"
        rf"\b(?:ignore|disregard|forget) (?:everything|all|what)\b.{{0,25}}\b(?:above|before|previously|"
        r"learned|told|said)\b",
        "override_your": rf"\b(?:ignore|disregard|forget|override|discard|drop)\b.{{0,12}}\byour\b"
        rf".{{0,20}}\b{STRICT}\b",
        "override_foreign": r"\b(?:ignorier\w*|vergiss|missachte\w*)\b.{0,40}\b(?:anweisung|regel|"
        r"vorgabe)\w*|"
        r"\b(?:ignorez?|oublie[zr]?)\b.{0,40}\b(?:instructions?|consignes?|règles?)|"
        r"\b(?:ignora\w*|olvid\w*|esque[çc]\w*|dimentica\w*)\b.{0,40}\b(?:instruc|instru[çc]|"
        r"istruzioni|reglas|"
        r"regras|regole|órdenes|ordens)\w*|игнорир\w*.{0,40}инструкц\w*|忽略.{0,12}(?:指令|指示|说明|提示)|"
        r"(?:指示|命令).{0,10}無視",
        "new_rules": rf"\b(?:new|updated|real|actual|following) {_RULES}\b.{{0,20}}(?::|are\b|is\b|now\b)",
        "reveal": r"\b(?:reveal|print|show|repeat|output|display|tell|give|leak|expose|disclose|list|share|"
        rf"summari[sz]e|translate|spell|copy|write|say|what(?:'s| is| are| was| were))\b.{{0,40}}?"
        rf"\b(?:your|you|above|hidden|initial|original|secret)\b.{{0,25}}?\b{_SECRET}\b",
        "secret": rf"\b{_SECRET}\b",
        "exfiltrate": rf"\b(?:send|post|mail|forward|upload|reveal|leak|output|"
        rf"print)\b.{{0,30}}\b{_SECRET}\b",
        "persona": r"\b(?:you are (?:now|going to)|you're now|from now on|act(?:ing)? (?:as|like)|pretend|"
        r"role-?play\w*|imagine (?:that )?you|simulat\w+|you will (?:be|act|play|now)|i want you to|"
        r"respond as|speak as|answer as|in character|break character|persona|play the role|take on the)\b",
        "unbound": r"\b(?:do anything now|jail ?b\w+|unfiltered|uncensored|unrestricted|unlimited|"
        r"unethical|amoral|immoral|no (?:moral\w*|ethic\w*|limits?|rules?|restrictions?|filters?|boundaries)|"
        r"without (?:any )?(?:moral\w*|ethic\w*|restrictions?|limits?|rules?|filters?|censor\w*|warnings?)|"
        r"free(?:d)? (?:from|of)|not bound|(?:developer|god|debug|dan|evil|chaos|maintenance) mode|"
        r"broken free|bypass\w*|loophole|ethical guidelines)\b",
        "assistant": r"\b(?:chat ?gpt|gpt|open ?ai|llm|language model|\bai\b|a\.i\.|chat ?bot|assistant|bard|"
        r"claude|gemini|llama|copilot|content polic\w+|artificial intelligence)\b",
        "dan": r"\bd\.?a\.?n\b(?!\.)|\b(?:stan|dude|aim|jailbreak)\b",
        "answer": rf"\byour\b.{{0,20}}\b{_ANSWER}\b|\bthe {_ANSWER}\b",
        "shape_answer": r"\b(?:begin|start|end|finish|prefix|preface|append|add|include|insert|mention|"
        r"integrat\w+|incorporat\w+|weave|conclude|write|give|provide|put|modify|enhance|augment|encode|"
        r"convert|translate|reverse|replace|render|present|format|use|embed|express)\b"
        rf".{{0,80}}\byour (?:\w+ )?{_ANSWER}\b|\b(?:in|to|with|into) your (?:\w+ )?{_ANSWER}\b",
        "plant_code": r"\b(?:includ|insert|incorporat|add|us|integrat|embed|append|merge|weav|employ|"
        r"introduc|apply|put|infus|blend|adopt|inject)\w*\b.{0,60}\b(?:code|snippet|script|block|fragment|"
        r"excerpt)\b.{0,80}\byour\b|\byour (?:own )?(?:code\w*|implementation|solution|program\w*|"
        r"algorithm)\b",
        "no_refusal": r"\b(?:never|not|cannot|can't|don't|won't|without)\b.{0,15}\b(?:refus\w+|declin\w+|"
        r"apolog\w+|warn\w*|disclaim\w*|break (?:the )?character|moral\w*|lectur\w+|censor\w*|"
        r"say (?:no|sorry))",
        "keep_from_reader": r"\b(?:do not|don't|never|without)\b.{0,10}\b(?:tell\w*|mention\w*|inform\w*|"
        r"alert\w*|notify\w*|report\w*|show\w*)\b.{0,25}\b(?:user|operator|anyone|customer|them|human)\b",
        "delimiter": r"\[/?(?:inst|sys\w*)\]|<\|?/?(?:im_start|im_end|system|user|assistant|question|context|"
        r"instructions?)\b[^>]{0,20}\|?>|(?:^|\n)\W{0,6}(?:system|assistant|user|human|ai)\W{0,4}:|"
        r"#{2,}\s*(?:end|new|system|instruction)|\bend of (?:context|document|prompt|input|text)\b|"
        r"\"role\"\s*:\s*\"system\"",
        "placeholder": r"\[(?:your |insert |put |the )?\s*(?:prompt|question|request|query|"
        r"task)[^\]]{0,30}\]|"
        r"\{(?:prompt|question|query|input)[^}]{0,10}\}|<(?:prompt|question)>|\bmy first (?:prompt|request|"
        r"question|command)",
        "harm": r"\b(?:bombs?|explosives?|meth|cocaine|drugs?|malware|ransomware|virus|keylogger|"
        r"porn\w*|sex\w*|"
        r"nsfw|nude|racis\w+|sexis\w+|hate speech|kill\w*|murder\w*|weapons?|steal\w*|rob|phishing|"
        r"illegal\w*|"
        r"hack\w*|torture|suicide|violen\w+|swear\w*|curs(?:e|ing)|profan\w+|fuck\w*|shit\w*|bitch|"
        r"offensive)\b",
        "encoding": r"\b(?:base ?(?:16|32|64|85)|rot-?13|hex\w*|morse|binary|caesar|cipher\w*|ascii|"
        r"leet ?speak|"
        r"unicode|backwards?|revers\w+|anagram\w*|scrambl\w+|jumbl\w+|emojis?)\b",
        "link": r"https?://|\bwww\.|\b[\w-]+\.(?:com|net|org|info|xyz|biz|shop|io)\b",
        "code": r"```|\bimport \w+|\bsubprocess\b|\bos\.system\b|\brequests\.\w+\(|\bsocket\b|"
        r"\beval\(|\bexec\(",
        "you": r"\byou(?:r|rs|rself)?\b",
        "you_are": r"\byou (?:are|must|should|will|can|cannot|have to|do not|don't|always|never)\b",
        "request": r"^\W*(?:please\b|can you|could you|would you|i (?:want|need|would like)|help me|let'?s)",
        "wh_question": r"^\W*(?:what|who|whom|whose|when|where|which|why|how)\b[^.]*\?",
        "task_verb": r"^\W*(?:please )?(?:write|compose|draft|create|provide|explain|describe|list|give|tell|"
        r"translate|summari[sz]e|generate|suggest|recommend|develop|design|outline|make|convert|classify|"
        r"analy[sz]e|compare|solve|calculate|draw|plan|schedule|help|break down|rewrite|answer|respond|"
        r"repl(?:y|ace)|say|reply|print|show|repeat)\b",
        "question_mark": r"\?",
        "quoted": "^[\"'“‘].*[\"'”’,]",
        "foreign": r"[\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]",
    }.items()
}
"""By name, for text in lower case; every one of them is a feature of the heads, in this order."""

FEATURES = len(PATTERNS) + 3


@lru_cache(maxsize=20_000)
def features(window: str) -> NDArray[np.float32]:
    """Which patterns a window matches, its length and its share of capitals and of marks (FEATURES,).

    The sentences of a shelf come back with every question about it, so they are remembered.
    """
    lower = window.lower()
    found = [float(bool(pattern.search(lower))) for pattern in PATTERNS.values()]
    size = max(len(window), 1)
    capitals = sum(map(str.isupper, window)) / size
    marks = sum(not each.isalnum() and not each.isspace() for each in window) / size
    return np.array([*found, min(size / 300, 1.5), capitals, marks], np.float32)
