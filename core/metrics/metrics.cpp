#include "core/metrics/metrics.hpp"

#include "core/app/version.hpp"
#include "core/metrics/process.hpp"

#include <minions/base/sync.hpp>

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace minions::core {
namespace {

using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets request_buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                              0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
const Buckets work_buckets{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800};

double seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

std::string_view known_method(std::string_view method) {
    constexpr std::string_view known[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    const auto* found = std::find(std::begin(known), std::end(known), method);
    return found == std::end(known) ? std::string_view("other") : *found;
}

}  // namespace

struct Metrics::Families {
    prometheus::Registry registry;
    prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                            .Name("minions_http_requests_total")
                                                            .Help("Answered HTTP requests.")
                                                            .Register(registry);
    prometheus::Family<Histogram>& request_seconds =
        prometheus::BuildHistogram()
            .Name("minions_http_request_duration_seconds")
            .Help("Time from a complete request head to its reply.")
            .Register(registry);
    prometheus::Family<Histogram>& operations =
        prometheus::BuildHistogram()
            .Name("minions_operation_duration_seconds")
            .Help("Time that finished operations took; the count is their number.")
            .Register(registry);
    prometheus::Family<Histogram>& builds = prometheus::BuildHistogram()
                                                .Name("minions_build_duration_seconds")
                                                .Help("Time that builds of images took.")
                                                .Register(registry);

    struct RequestSeries {
        prometheus::Counter* count = nullptr;
        Histogram* time = nullptr;
    };
    /// Looking a series up by its labels hashes strings; a request finds its own by the pattern's address.
    using RequestKey = std::tuple<const char*, const char*, int>;
    Sync<std::map<RequestKey, RequestSeries>> request_series;

    RequestSeries series(std::string_view route, std::string_view method, int status) {
        const auto lock = request_series.lock();
        auto& found = (*lock)[RequestKey{route.data(), method.data(), status}];
        if (found.count == nullptr) {
            const prometheus::Labels labels{{"route", std::string(route)}, {"method", std::string(method)}};
            auto with_status = labels;
            with_status.emplace("status", std::to_string(status));
            found = {&requests.Add(with_status), &request_seconds.Add(labels, request_buckets)};
        }
        return found;
    }
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::request(std::string_view route, std::string_view method, int status,
                      std::chrono::nanoseconds duration) {
    const auto series = families_->series(route.empty() ? "unmatched" : route, known_method(method), status);
    series.count->Increment();
    series.time->Observe(seconds(duration));
}

void Metrics::operation(std::string_view kind, std::string_view outcome, std::chrono::nanoseconds duration) {
    families_->operations.Add({{"kind", std::string(kind)}, {"outcome", std::string(outcome)}}, work_buckets)
        .Observe(seconds(duration));
}

void Metrics::build(std::string_view runtime, std::string_view outcome, std::chrono::nanoseconds duration) {
    families_->builds
        .Add({{"runtime", std::string(runtime)}, {"outcome", std::string(outcome)}}, work_buckets)
        .Observe(seconds(duration));
}

namespace {

struct Sample {
    prometheus::Labels labels;
    double value;
};

prometheus::MetricFamily figure(const char* name, const char* help, prometheus::MetricType type,
                                const std::vector<Sample>& samples) {
    prometheus::MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    for (const auto& [labels, value] : samples) {
        prometheus::ClientMetric metric;
        for (const auto& [label, text] : labels) {
            prometheus::ClientMetric::Label made;
            made.name = label;
            made.value = text;
            metric.label.push_back(std::move(made));
        }
        metric.counter.value = value;
        metric.gauge.value = value;
        family.metric.push_back(std::move(metric));
    }
    return family;
}

void append_process(std::vector<prometheus::MetricFamily>& families) {
    using prometheus::MetricType;
    const auto process = process_figures();
    const auto one = [&](const char* name, const char* help, double value,
                         MetricType type = MetricType::Gauge) {
        families.push_back(figure(name, help, type, {{{}, value}}));
    };
    one("process_cpu_seconds_total", "User and system CPU time spent.", process.cpu_seconds,
        MetricType::Counter);
    one("process_start_time_seconds", "Start of the process since the Unix epoch.",
        process.start_time_seconds);
    one("process_resident_memory_bytes", "Resident memory.", static_cast<double>(process.resident_bytes));
    one("process_virtual_memory_bytes", "Virtual memory.", static_cast<double>(process.virtual_bytes));
    one("process_open_fds", "Open file descriptors.", static_cast<double>(process.open_descriptors));
    one("process_max_fds", "Limit of open file descriptors.", static_cast<double>(process.max_descriptors));
    one("process_threads", "Threads of the process.", static_cast<double>(process.threads));
}

}  // namespace

std::string Metrics::text(const MetricsSnapshot& snapshot) {
    using prometheus::MetricType;
    auto families = families_->registry.Collect();
    std::vector<Sample> instances;
    for (const auto& [runtime, status, count] : snapshot.instances) {
        instances.push_back({{{"runtime", runtime}, {"status", status}}, static_cast<double>(count)});
    }
    std::vector<Sample> runtimes;
    for (const auto& [runtime, healthy] : snapshot.runtimes) {
        runtimes.push_back({{{"runtime", runtime}}, healthy ? 1.0 : 0.0});
    }
    families.push_back(
        figure("minions_instances", "Instances by runtime and status.", MetricType::Gauge, instances));
    families.push_back(figure("minions_runtime_up", "Whether a runtime is healthy (1) or not (0).",
                              MetricType::Gauge, runtimes));
    families.push_back(figure("minions_http_connections", "Open HTTP connections.", MetricType::Gauge,
                              {{{}, static_cast<double>(snapshot.connections)}}));
    families.push_back(figure("minions_build_info", "Always 1; the label says which version this is.",
                              MetricType::Gauge, {{{{"version", version()}}, 1.0}}));
    append_process(families);
    return prometheus::TextSerializer().Serialize(families);
}

}  // namespace minions::core
