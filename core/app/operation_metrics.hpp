#pragma once

#include "core/events/events.hpp"
#include "core/metrics/metrics.hpp"

#include <thread>

namespace minions::core {

/// Counts and times operations for /metrics, by reading the event stream as any client does.
class OperationMetrics {
  public:
    /// Starts its thread. Both must outlive it.
    OperationMetrics(Events& events, Metrics& metrics);
    ~OperationMetrics();
    OperationMetrics(const OperationMetrics&) = delete;
    OperationMetrics& operator=(const OperationMetrics&) = delete;

  private:
    std::unique_ptr<Subscription> subscription_;
    EventFd ending_;
    std::thread thread_;
};

}  // namespace minions::core
