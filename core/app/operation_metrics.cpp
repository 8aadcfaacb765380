#include "core/app/operation_metrics.hpp"

#include "core/store/ids.hpp"

#include <minions/error.hpp>

#include <chrono>
#include <unordered_map>

namespace minions::core {
namespace {

using Started = std::unordered_map<std::string, std::chrono::system_clock::time_point>;

void take(const Event& event, Started& started, Metrics& metrics) {
    if (event.type == "operation.started") {
        started[event.subject] = parse_rfc3339(event.time);
    } else if (event.type == "operation.finished") {
        const auto found = started.find(event.subject);
        if (found == started.end()) return;
        metrics.operation(event.data["kind"].string_or(""), event.data["status"].string_or(""),
                          parse_rfc3339(event.time) - found->second);
        started.erase(found);
    } else if (event.type == events_lost) {
        started.clear();  // the ends of some will never be seen
    }
}

void follow(Subscription& subscription, const EventFd& ending, Events& events, Metrics& metrics) {
    Started started;
    while (!events.closed() && !ending.raised()) {
        try {
            const auto event = subscription.next(SteadyTime::max(), ending.fd());
            if (event) take(*event, started, metrics);
        } catch (const Error&) {
            // The table cannot be read now; what is missed is not counted.
            ending.wait(deadline_in(std::chrono::milliseconds(500)));
        }
    }
}

}  // namespace

OperationMetrics::OperationMetrics(Events& events, Metrics& metrics)
    : subscription_(events.subscribe()),
      thread_([this, &events, &metrics] { follow(*subscription_, ending_, events, metrics); }) {}

OperationMetrics::~OperationMetrics() {
    ending_.raise();
    thread_.join();
}

}  // namespace minions::core
