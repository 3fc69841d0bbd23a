# autoscale_status external_metrics and keda: single signals, for the autoscalers of others.
use lib 't/lib';
use AutoscaleLua;

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    $block->set_value('http_config', "autoscale_zone main:4m keys=64;\n" . ($block->http_config // ''));
    $block->set_value('config', ($block->config // '') . q{
        location /apis { autoscale_status external_metrics; }
        location = /keda { autoscale_status keda; }
        location = /proxied { proxy_pass http://backend; }
    });
    $block->set_value('backend', 'location / { return 200; }') if !defined $block->backend;
});

our $base = '/apis/external.metrics.k8s.io/v1beta1';
run_tests();

__DATA__

=== TEST 1: the list of resources says that the API is there, and names what can be asked for
--- lua
    require("ngx.autoscale").incr("sold", 1, "EU")
    local list = ngx.location.capture("/apis/external.metrics.k8s.io/v1beta1")
    ngx.say(list.status, " ", list.header["Content-Type"], " ", list.header["Cache-Control"])
    list = require("cjson").decode(list.body)
    ngx.say(list.kind, " ", list.apiVersion, " ", list.groupVersion)
    local names = {}
    for i, resource in ipairs(list.resources) do
        names[i] = resource.name
        assert(resource.namespaced and resource.singularName == "" and resource.verbs[1] == "get")
        assert(resource.kind == "ExternalMetricValueList")
    end
    ngx.say(table.concat(names, " "))
--- response_body
200 application/json no-store
APIResourceList v1 external.metrics.k8s.io/v1beta1
upstream.backend.rate@1m upstream.backend.inflight upstream.backend.queue upstream.backend.latency.avg@1m upstream.backend.latency.p99@1m upstream.backend.error_rate@1m self.cpu@1m self.mem@1m custom.sold~1~e~u.rate@1m


=== TEST 2: group and groups are there for those who look for them
--- request eval
["GET /apis", "GET /apis/external.metrics.k8s.io"]
--- response_body_like eval
['"kind":"APIGroupList"', '"groupVersion":"external.metrics.k8s.io/v1beta1".*"kind":"APIGroup"|"kind":"APIGroup".*"groupVersion":"external.metrics.k8s.io/v1beta1"']


=== TEST 3: a metric is a list of one value, of the time it is from
--- request eval
["GET /proxied", "GET $::base/namespaces/shop/upstream.backend.rate\@1h"]
--- response_body_like eval
['^$', qr/^\{"apiVersion":"external\.metrics\.k8s\.io\/v1beta1","items":\[\{"metricLabels":\{"metric":"rate","scope":"upstream","stat":"avg","upstream":"backend","window":"1h"\},"metricName":"upstream\.backend\.rate\@1h","timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","value":"\d+[mu]?","windowSeconds":3600\}\],"kind":"ExternalMetricValueList","metadata":\{\}\}$/]


=== TEST 4: a level has no window, and zero is zero
--- request eval
"GET $::base/namespaces/shop/upstream.backend.inflight"
--- response_body_like
"metricName":"upstream\.backend\.inflight","timestamp":"[^"]+","value":"0"\}\],.*


=== TEST 5: names are escaped for Kubernetes, and what was not escaped is understood
--- lua
    local as = require "ngx.autoscale"
    assert(as.incr("Sold", 3, "EU/50%~"))
    local base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/"
    for _, name in ipairs {
        "custom.~sold~1~e~u~150~2~0@1h", "custom.Sold%2FEU%2F50%25~0@1h", "custom.Sold/EU/50%25~0@1h",
    } do
        local res = ngx.location.capture(base .. name)
        local item = require("cjson").decode(res.body).items[1]
        ngx.say(item.metricName, " ", item.metricLabels.key, " ", tonumber(item.value) >= 3)
    end
--- response_body
custom.~sold~1~e~u~150~2~0@1h EU/50%~ true
custom.Sold/EU/50%~0@1h EU/50%~ true
custom.Sold/EU/50%~0@1h EU/50%~ true


=== TEST 6: the same over the wire, with what a client escapes
--- config
    location = /count { content_by_lua_block { require("ngx.autoscale").incr("Sold", 1, "a/b c") } }
--- request eval
["GET /count", "GET $::base/namespaces/default/custom.~sold~1a~1b%20c\@1h", "GET $::base/namespaces/default/custom.Sold%2Fa%2Fb%20c\@1h"]
--- response_body_like eval
["^\$", '"key":"a/b c"', '"key":"a/b c"']


=== TEST 7: a selector chooses by the parts of the signal
--- request eval
["GET $::base/namespaces/shop/upstream.backend.inflight?labelSelector=upstream%3Dbackend%2Cmetric+in+%28inflight%29",
 "GET $::base/namespaces/shop/upstream.backend.inflight?limit=1&labelSelector=upstream%21%3Dbackend"]
--- response_body_like eval
['"items":\[\{"metric', '"items":\[\],']


=== TEST 8: what cannot be told is an error in Kubernetes' form, never a number
--- http_config
    upstream idle { server 127.0.0.1:1; }
--- request eval
["GET $::base/namespaces/shop/upstream.backnd.rate", "GET $::base/namespaces/shop/upstream.backend.rat",
 "GET $::base/namespaces/shop/upstream.idle.latency\@1m", "GET $::base/namespaces/shop/a~9",
 "GET $::base/namespaces/shop/self.rate?labelSelector=a+b", "GET $::base/pods", "POST $::base\nx"]
--- error_code eval
[404, 400, 503, 400, 400, 404, 405]
--- response_body_like eval
['^\{"apiVersion":"v1","code":404,"kind":"Status","message":"signal \\\\"upstream.backnd.rate.avg@5s\\\\": there is no upstream.*did you mean.*"metadata":\{\},"reason":"NotFound","status":"Failure"\}$',
 '"code":400.*did you mean.*rate.*"reason":"BadRequest"', '"code":503.*nothing was sampled in its window.*"reason":"ServiceUnavailable"',
 'which is no escape', 'unable to parse requirement', '"reason":"NotFound"', '"reason":"MethodNotAllowed"']


=== TEST 9: KEDA gets a number and what it is worth
--- request eval
["GET /proxied", "GET /keda?signal=upstream.backend.rate\@1h", "GET /keda?x=1&signal=upstream.backend.latency%401h"]
--- response_body_like eval
['^$', '^\{"age":0.0,"samples":\d+,"signal":"upstream.backend.rate.avg@1h","value":\d+\.\d+(e-\d)?\}$',
 '^\{"age":\d\.\d+(e-\d)?,"samples":\d+,"signal":"upstream.backend.latency.avg@1h","value":0\.0\d*\}$']
--- response_headers eval
["", "Content-Type: application/json", "Cache-Control: no-store"]


=== TEST 10: for KEDA, too, no number is an error
--- http_config
    upstream idle { server 127.0.0.1:1; }
--- request eval
["GET /keda", "GET /keda?signal=", "GET /keda?signal=upstream.backnd.rate", "GET /keda?signal=nonsense", "GET /keda?signal=upstream.idle.latency"]
--- error_code eval
[400, 400, 404, 400, 503]
--- response_body_like eval
['"error":"which signal\?', 'which signal', 'did you mean', '"error":', 'nothing was sampled']


=== TEST 11: a polled signal is an error before it has come, and when it is stale
--- modes: plain
--- http_config
    autoscale_signal queue http://127.0.0.1:1984/depth every=100ms stale=300ms metric=depth;
    lua_shared_dict state 1m;
--- config
    location = /depth {
        content_by_lua_block {
            if ngx.shared.state:get("works") then ngx.say("depth 7") else ngx.exit(500) end
        }
    }
--- lua
    local function ask(uri)
        local res = ngx.location.capture(uri)
        return res.status .. " " .. res.body
    end
    local function all()
        return ask("/keda?signal=ext.queue.depth"),
            ask("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/ext.queue.depth")
    end
    local function wait(status)
        for _ = 1, 200 do
            if ask("/keda?signal=ext.queue.depth"):find(status, 1, true) == 1 then break end
            ngx.sleep(0.02)
        end
    end
    ngx.shared.state:set("works", false)
    wait("503")
    ngx.print(all())
    ngx.shared.state:set("works", true)
    wait("200")
    ngx.print(all())
    ngx.shared.state:set("works", false)
    wait("503")
    ngx.print(all())
--- response_body_like
^503 \{"error":"signal \\"ext\.queue\.depth\\" (has no value yet|is stale: .*)"\}
503 \{"apiVersion":"v1","code":503.*
200 \{"age":0\.[0-2]\d*(e-\d)?,"samples":1,"signal":"ext.queue.depth","value":7\.0\}
200 .*"value":"7"\}\],.*
503 \{"error":"signal \\"ext\.queue\.depth\\" is stale: it is 0\.\d s old, and 0\.3 s is the most"\}
503 .*"reason":"ServiceUnavailable".*
--- allow_log
queue


=== TEST 12: HEAD is answered as GET without the body
--- request eval
["HEAD /keda?signal=self.inflight", "HEAD $::base"]
--- response_headers_like eval
["Content-Length: \\d\\d+", "Content-Length: \\d\\d+"]
--- response_body eval
["", ""]


=== TEST 13: who wants the discovery in another form is told that there is none, and comes back
--- request eval
["GET /apis", "GET /apis", "GET $::base/namespaces/shop/self.inflight"]
--- more_headers eval
["Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "Accept: application/json;v=v2;as=APIGroupDiscoveryList,application/json",
 "Accept: application/vnd.kubernetes.protobuf,*/*"]
--- error_code eval
[406, 200, 200]
--- response_body_like eval
['"reason":"NotAcceptable"', '"kind":"APIGroupList"', '"kind":"ExternalMetricValueList"']


=== TEST 14: a misspelt format is named
--- http_config
    autoscale_zone main:8m;
--- config
    location = /t { autoscale_status externalmetrics; }
--- must_die
--- error_log
unknown format "externalmetrics" (did you mean "external_metrics"?): write one of "json", "prometheus", "html", "external_metrics", "keda"
