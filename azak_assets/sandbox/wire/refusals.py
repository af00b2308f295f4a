"""What each upstream answers when it fails, in its own form.

Belongs here: the bodies of server faults, of too many calls, and of errors inside a success. When an upstream answers
so is decided by a plan (`faults`), or by the module of that upstream.
"""

from typing import Any

from starlette.responses import JSONResponse, Response

MAINTENANCE = (
    "<!DOCTYPE html><html lang='ko'><head><title>서비스 점검 안내</title></head>"
    "<body><h1>시스템 점검 중입니다</h1><p>잠시 후 다시 이용해 주십시오.</p></body></html>"
)


def upstream_of(path: str) -> str:
    """Whose path it is: the first part of it."""
    return path.strip("/").partition("/")[0]


def refusal(path: str, kind: str) -> Response:
    """The upstream's own answer to a server fault ("500"; "error_in_200" under HTTP 200) or too many calls ("429").

    A gateway before it turns clients away with a page ("401", "403"), whatever they asked.
    """
    upstream = upstream_of(path)
    answers = {"500": _BROKEN, "429": _TOO_OFTEN, "error_in_200": IN_SUCCESS}.get(kind, {})
    otherwise = (int(kind) if kind.isdigit() else 200, MAINTENANCE)
    status, body = answers.get(f"{upstream}.xml" if path.endswith(".xml") else upstream, otherwise)
    headers = {"retry-after": "1"} if status == 429 else None
    if isinstance(body, dict):
        return JSONResponse(body, status, headers)
    return Response(body, status, headers, "application/xml" if body.startswith("<?xml") else "text/html")


_BROKEN: dict[str, tuple[int, dict[str, Any] | str]] = {
    "telegram": (500, {"ok": False, "error_code": 500, "description": "Internal Server Error"}),
    "reddit": (500, {"message": "Internal Server Error", "error": 500}),
    "kis": (500, {"rt_cd": "1", "msg_cd": "EGW00002", "msg1": "서버 에러가 발생했습니다."}),
    "krx": (500, {"respMsg": "Internal Server Error", "respCode": "500"}),
    "naver": (500, {"errorMessage": "System Error (시스템 에러)", "errorCode": "SE99"}),
    "openai": (
        500,
        {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}},
    ),
    "openrouter": (500, {"error": {"code": 500, "message": "Internal Server Error"}}),
}
_TOO_OFTEN: dict[str, tuple[int, dict[str, Any] | str]] = {
    "reddit": (429, {"message": "Too Many Requests", "error": 429}),
    "telegram": (
        429,
        {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        },
    ),
    "kis": (500, {"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "초당 거래건수를 초과하였습니다."}),
    "opendart": (200, {"status": "020", "message": "사용한도를 초과하였습니다."}),
    "opendart.xml": (
        200,
        '<?xml version="1.0" encoding="UTF-8"?>'
        "<result><status>020</status><message>사용한도를 초과하였습니다.</message></result>",
    ),
    "krx": (429, {"respMsg": "Too Many Requests", "respCode": "429"}),
    "naver": (429, {"errorMessage": "Query limit exceeded (쿼리 한도 초과)", "errorCode": "010"}),
    "openai": (
        429,
        {"error": {"message": "Rate limit", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    ),
    "openrouter": (429, {"error": {"code": 429, "message": "Rate limit exceeded"}}),
}
IN_SUCCESS: dict[str, tuple[int, dict[str, Any] | str]] = {
    "kis": (200, {"rt_cd": "1", "msg_cd": "EGW00002", "msg1": "서버 에러가 발생했습니다."}),
    "opendart": (200, {"status": "900", "message": "정의되지 않은 오류가 발생하였습니다."}),
    "opendart.xml": (
        200,
        '<?xml version="1.0" encoding="UTF-8"?>'
        "<result><status>900</status><message>정의되지 않은 오류가 발생하였습니다.</message></result>",
    ),
    # The router had begun to answer when the provider behind it failed.
    "openrouter": (
        200,
        {
            "error": {
                "code": 502,
                "message": "Provider returned error",
                "metadata": {"provider_name": "Sandbox", "raw": "upstream connect error"},
            }
        },
    ),
}
