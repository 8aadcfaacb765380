#pragma once

#include <minions/base/event_fd.hpp>
#include <minions/base/fd.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace minions {

/// The other ends of the pipes that are handed to a call: a thread takes what the call writes, and writes
/// what it reads.
///
///     CallPipes pipes;
///     Fd out = pipes.collect([&](std::string_view piece) { text += piece; });
///     pipes.start();
///     logs.logs(context, instance, spec, std::move(out));
///     pipes.finish();
///
/// Used by one thread.
class CallPipes {
  public:
    CallPipes() = default;
    CallPipes(const CallPipes&) = delete;
    CallPipes& operator=(const CallPipes&) = delete;
    /// finish(), so that a call that throws needs nothing further.
    ~CallPipes();

    // Before start(); they give what the call gets, and throw std::system_error.
    /// `take` gets what the call writes, on the thread in here, and not after finish(). It must not throw.
    Fd collect(std::function<void(std::string_view)> take);
    /// The call reads `text` and then the end; at most one.
    Fd feed(std::string text);

    void start();
    /// To be called when the call has returned. Waits until all that it wrote has been taken, but for no more
    /// than a second: a call that was given up may hold its ends for ever. False if the end of something did
    /// not come by then.
    bool finish();

  private:
    struct Outlet {
        Fd from;
        std::function<void(std::string_view)> take;
    };
    void run();
    bool any_open() const;
    void take_from(Outlet& outlet);
    void feed_some();

    std::vector<Outlet> outlets_;
    Fd feed_;
    std::string text_;
    std::size_t fed_ = 0;
    EventFd over_;
    std::thread thread_;
};

}  // namespace minions
