#include "core/deployments/build_slots.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <future>
#include <optional>
#include <vector>

using namespace minions;
using namespace minions::core;

namespace {

Code code_of_acquire(BuildSlots& slots, Deadline deadline, int cancel_fd) {
    try {
        slots.acquire(deadline, cancel_fd);
    } catch (const Error& error) {
        return error.code();
    }
    FAIL("it was let through");
    return Code::internal;
}

}  // namespace

TEST_CASE("as many as there are places are let through") {
    BuildSlots slots(2);
    {
        const auto first = slots.acquire(no_deadline, -1);
        const auto second = slots.acquire(no_deadline, -1);
        CHECK(code_of_acquire(slots, deadline_in(std::chrono::milliseconds(1)), -1) == Code::deadline);
    }
    const auto third = slots.acquire(deadline_in(std::chrono::seconds(10)), -1);
    const auto fourth = slots.acquire(deadline_in(std::chrono::seconds(10)), -1);
}

TEST_CASE("who waits is let through in the order of coming") {
    BuildSlots slots(1);
    std::optional<BuildSlots::Slot> held(slots.acquire(no_deadline, -1));
    Sync<std::vector<int>> order;
    std::vector<std::future<void>> waiting;
    for (int number = 0; number < 3; ++number) {
        waiting.push_back(std::async(std::launch::async, [&, number] {
            const auto slot = slots.acquire(deadline_in(std::chrono::seconds(30)), -1);
            order.lock()->push_back(number);
        }));
        while (slots.waiting() != static_cast<std::size_t>(number) + 1) std::this_thread::yield();
    }
    held.reset();
    for (auto& each : waiting) each.get();
    CHECK(*order.lock() == std::vector<int>{0, 1, 2});
}

TEST_CASE("who is called off while waiting takes no place along") {
    BuildSlots slots(1);
    EventFd cancel;
    std::optional<BuildSlots::Slot> held(slots.acquire(no_deadline, -1));
    auto called_off =
        std::async(std::launch::async, [&] { return code_of_acquire(slots, no_deadline, cancel.fd()); });
    while (slots.waiting() != 1) std::this_thread::yield();
    cancel.raise();
    CHECK(called_off.get() == Code::cancelled);
    CHECK(slots.waiting() == 0);
    held.reset();
    CHECK_NOTHROW(slots.acquire(deadline_in(std::chrono::seconds(10)), -1));
}
