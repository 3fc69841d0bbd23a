-- ngx.ocsp

local sub = string.sub

return function(_, native, base)
    local text, to_string, to_number = base.text, base.to_string, base.to_number
    local responder, request, validate, staple =
        native.ocsp_responder, native.ocsp_request, native.ocsp_validate, native.ocsp_staple
    local out, num = base.new("as_str[1]"), base.num
    local check = base.check_ssl
    local NONE = -5
    -- The largest answer without a limit of the user's.
    local LIMIT = 4096

    local M = { version = base.version }

    function M.get_ocsp_responder_from_der_chain(chain, limit)
        local name = "get_ocsp_responder_from_der_chain"
        chain = to_string(chain, 1, name)
        limit = limit and to_number(limit, 2, name) or LIMIT
        local rc = responder(chain, #chain, out)
        if rc == NONE then
            return nil
        end
        local answer = text(out)
        if rc ~= 0 then
            return nil, answer
        end
        if #answer > limit then
            return sub(answer, 1, limit), "truncated"
        end
        return answer
    end

    function M.create_ocsp_request(chain, limit)
        chain = to_string(chain, 1, "create_ocsp_request")
        limit = limit and to_number(limit, 2, "create_ocsp_request") or LIMIT
        local rc = request(chain, #chain, out)
        local answer = text(out)
        if rc ~= 0 then
            return nil, answer
        end
        if #answer > limit then
            return nil, "output buffer too small: " .. #answer .. " > " .. limit
        end
        return answer
    end

    function M.validate_ocsp_response(response, chain, limit)
        response = to_string(response, 1, "validate_ocsp_response")
        chain = to_string(chain, 2, "validate_ocsp_response")
        limit = limit and to_number(limit, 3, "validate_ocsp_response") or LIMIT
        if validate(response, #response, chain, #chain, num, out) ~= 0 then
            return nil, sub(text(out), 1, limit)
        end
        local next_update = num[0]
        if next_update ~= next_update then
            next_update = nil
        end
        return true, next_update
    end

    function M.set_ocsp_status_resp(response)
        check()
        response = to_string(response, 1, "set_ocsp_status_resp")
        local rc = staple(response, #response, out)
        if rc == 0 then
            return true
        end
        if rc == NONE then
            return true, "no status req"
        end
        return nil, text(out)
    end

    base.module("ngx.ocsp", M)
end
