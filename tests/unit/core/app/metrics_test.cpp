#include "core/metrics/metrics.hpp"

#include "core/metrics/process.hpp"

#include <catch2/catch.hpp>
#include <unistd.h>

using namespace minions::core;
using Catch::Contains;
using std::chrono::milliseconds;

TEST_CASE("what was observed can be scraped") {
    Metrics metrics;
    metrics.request("/api/vms", "GET", 200, milliseconds(3));
    metrics.request("/api/vms", "GET", 200, milliseconds(3));
    metrics.request("/api/vms", "GET", 404, milliseconds(3));
    metrics.request("", "BREW", 404, milliseconds(1));
    metrics.operation("instance.create", "succeeded", milliseconds(300));
    metrics.build("docker", "failed", milliseconds(300));
    const auto text = metrics.text({{{"docker", "running", 2}}, {{"docker", true}, {"qemu", false}}, 7});
    for (const auto* line : {
             R"(minions_http_requests_total{method="GET",route="/api/vms",status="200"} 2)",
             R"(minions_http_requests_total{method="GET",route="/api/vms",status="404"} 1)",
             R"(minions_http_requests_total{method="other",route="unmatched",status="404"} 1)",
             R"(minions_http_request_duration_seconds_count{method="GET",route="/api/vms"} 3)",
             R"(minions_operation_duration_seconds_count{kind="instance.create",outcome="succeeded"} 1)",
             R"(minions_build_duration_seconds_count{outcome="failed",runtime="docker"} 1)",
             R"(minions_instances{runtime="docker",status="running"} 2)",
             R"(minions_runtime_up{runtime="docker"} 1)",
             R"(minions_runtime_up{runtime="qemu"} 0)",
             "minions_http_connections 7",
             "# TYPE process_cpu_seconds_total counter",
             "# TYPE minions_runtime_up gauge",
         }) {
        CHECK_THAT(text, Contains(line));
    }
}

TEST_CASE("figures of the process are its own") {
    const auto before = process_figures();
    CHECK(before.resident_bytes > 1 << 20);
    CHECK(before.threads >= 1);
    CHECK(before.start_time_seconds > 1.6e9);
    const int fd = ::dup(2);
    CHECK(process_figures().open_descriptors == before.open_descriptors + 1);
    ::close(fd);
}
