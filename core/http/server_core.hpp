#pragma once

#include "core/http/connection.hpp"
#include "core/http/lane.hpp"
#include "core/http/listener.hpp"
#include "core/http/server.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace minions::core::http {

/// What a Server is made of. Its threads hold it, so that a handler that outlives stop() harms nobody.
///
/// server_core.cpp: sockets, threads, deadlines, the end. exchange.cpp: from bytes to requests to replies.
class ServerCore : public std::enable_shared_from_this<ServerCore> {
  public:
    ServerCore(Options options, Router router);

    void start();
    void stop(std::chrono::milliseconds grace);

    const std::vector<std::string>& bound() const noexcept { return bound_; }
    const Router& router() const noexcept { return router_; }
    std::size_t connections() const { return connections_.lock()->size(); }

  private:
    enum class Next : std::uint8_t { again, park_for_input, park_for_output, handed_over, close };
    using Table = std::unordered_map<std::uint64_t, ConnectionPtr>;
    struct BoundedLane {
        LanePool pool;
        std::size_t max;
        std::string_view setting;  ///< that bounds it, for who is refused
    };

    // server_core.cpp
    void run_worker();
    void run_sweeper();
    void accept_all(std::size_t index);
    void admit(Fd fd);
    bool make_room();
    void turn_away(Fd fd);
    void on_event(std::uint64_t id);
    void park(const ConnectionPtr& connection, std::uint32_t events);
    void rearm(const Connection& connection, std::uint32_t events);
    void close(const ConnectionPtr& connection);
    Next expire(const ConnectionPtr& connection);
    std::vector<ConnectionPtr> all_connections() const;
    void wake_sweeper(Clock::time_point deadline);
    void cut_all();
    void log(LogLevel level, std::string_view message) const;

    // exchange.cpp
    void advance(const ConnectionPtr& connection, const std::function<Next()>& first) noexcept;
    Next step(const ConnectionPtr& connection);
    Next read_head(const ConnectionPtr& connection);
    Next read_body(const ConnectionPtr& connection);
    Next begin(const ConnectionPtr& connection, std::size_t head_size);
    bool route(Connection& connection, Reply& reply);
    void prepare_body(Exchange& exchange) const;
    Next dispatch(const ConnectionPtr& connection);
    BoundedLane& lane_of(Lane lane);
    Next hand_over(const ConnectionPtr& connection, Lane lane, std::function<Next()> work);
    Reply call(Exchange& exchange) const;
    Next answer(const ConnectionPtr& connection, Reply reply);
    Next answer_stream(const ConnectionPtr& connection, const Reply& reply);
    Next run_stream(const ConnectionPtr& connection, const Reply& reply);
    Next run_take_over(const ConnectionPtr& connection, const Reply& reply);
    Next refuse(const ConnectionPtr& connection, const Error& error);
    Next write_output(Connection& connection);
    Next finish(Connection& connection);
    Reply failure(const Exchange& exchange, const Error& error) const;
    void settle_body(Connection& connection) const;
    void observe(const Exchange* exchange, int status) const;
    std::string next_request_id();

    const Options options_;
    const Router router_;
    std::vector<std::string> bound_;
    std::size_t worker_count_;
    Fd epoll_;
    Fd wake_;
    Sync<std::vector<Listener>> listeners_;
    Sync<Fd> reserve_;  // given up to accept and close when descriptors run out
    Sync<Table> connections_;
    std::atomic<std::uint64_t> next_id_;
    std::string id_prefix_;
    std::atomic<std::uint64_t> next_request_{0};

    std::atomic<bool> stopping_{false};
    std::atomic<bool> quit_{false};
    std::mutex stop_mutex_;
    std::condition_variable connection_closed_;

    std::mutex sweep_mutex_;
    std::condition_variable sweep_condition_;
    std::atomic<Clock::time_point> next_sweep_{Clock::time_point::max()};

    LanePool threads_;
    BoundedLane waiting_;
    BoundedLane commands_;
    BoundedLane streams_;
};

}  // namespace minions::core::http
