#pragma once

#include "task.hpp"

#include <minions/agent/link.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace minions::agent {

struct Machine;

/// One conversation with the host, from hello to the loss of the transport. Belongs to the loop's thread.
class Session {
  public:
    enum class Transport {
        stream,  ///< a connection: it begins clean
        bytes    ///< a serial port: it may begin with the remains of another conversation
    };

    /// `lost` is called once, from within; the session is to be destroyed later. Throws std::system_error.
    Session(Loop& loop, Machine& machine, Fd fd, Transport transport,
            std::function<void(const std::string&)> lost);
    ~Session();

    Link& link() noexcept { return link_; }
    /// The end of a task, which is gone when this returns to the loop.
    void end(std::uint32_t stream, const Fields& how);

  private:
    void greet();
    void on_frame(const FrameHead& head, std::string_view payload);
    void on_reset(std::string_view payload);
    void on_welcome(std::string_view payload);
    void on_request(std::uint32_t stream, std::string_view payload);
    void to_task(Task& task, const FrameHead& head, std::string_view payload);
    /// Null where the answer was given at once.
    std::unique_ptr<Task> begin(std::uint32_t stream, const Fields& fields);

    Machine& machine_;
    Link link_;
    bool welcomed_ = false;
    std::string last_nonce_;
    std::map<std::uint32_t, std::unique_ptr<Task>> tasks_;
    std::unique_ptr<Task> ended_;  ///< the last one: it may be what calls end()
};

}  // namespace minions::agent
