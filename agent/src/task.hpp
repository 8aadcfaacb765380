#pragma once

#include <minions/agent/frame.hpp>

#include <cstdint>
#include <string_view>

namespace minions::agent {

/// A request that takes time: it lives from its `request` frame to its `end`. Members without a use for a
/// task ignore what comes. [loop]
class Task {
  public:
    Task() = default;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    /// Ends at once whatever it started: the session is over.
    virtual ~Task() = default;

    virtual void data(std::uint8_t /*channel*/, std::string_view /*bytes*/) {}
    virtual void eof(std::uint8_t /*channel*/) {}
    virtual void grant(std::uint8_t /*channel*/, std::uint32_t /*bytes*/) {}
    virtual void stop(std::uint8_t /*channel*/) {}
    virtual void control(const Fields& /*fields*/) {}
    /// The host gives it up; an `end` still follows.
    virtual void cancel() = 0;
};

/// What a task or a method answers: the fields of its `end`.
inline Fields ended(End how, std::string_view message = {}) {
    Fields fields;
    fields.add_number(tag::how, static_cast<std::int64_t>(how));
    if (!message.empty()) fields.add(tag::message, message);
    return fields;
}

/// Thrown by methods that cannot do what they are asked.
struct Refusal {
    End how;
    std::string message;
};

}  // namespace minions::agent
