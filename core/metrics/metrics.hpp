#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// How many instances a runtime has in a status.
struct InstanceCount {
    std::string runtime;
    std::string status;
    std::int64_t count = 0;
};

struct RuntimeUp {
    std::string runtime;
    bool healthy = false;
};

/// What is true at the moment of a scrape.
struct MetricsSnapshot {
    std::vector<InstanceCount> instances;
    std::vector<RuntimeUp> runtimes;
    std::int64_t connections = 0;
};

/// The daemon's figures for Prometheus. [any thread]
class Metrics {
  public:
    Metrics();
    ~Metrics();
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    /// One answered request. `route` is the pattern of a route and lives as long as the process; empty where
    /// none matched. Methods that no route has are counted as "other", so that clients cannot make up labels.
    void request(std::string_view route, std::string_view method, int status,
                 std::chrono::nanoseconds duration);
    /// One finished operation; `outcome` is "succeeded", "failed" or "cancelled".
    void operation(std::string_view kind, std::string_view outcome, std::chrono::nanoseconds duration);
    /// One finished build of an image.
    void build(std::string_view runtime, std::string_view outcome, std::chrono::nanoseconds duration);

    /// The text exposition format, version 0.0.4.
    std::string text(const MetricsSnapshot& snapshot);

    static constexpr const char* content_type = "text/plain; version=0.0.4; charset=utf-8";

  private:
    struct Families;
    std::unique_ptr<Families> families_;
};

}  // namespace minions::core
