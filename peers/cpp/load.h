// Orders, and how they are carried out.

#pragma once

#include <string>

#include "evenkeel/echo/v1/echo.grpc.pb.h"

using evenkeel::echo::v1::Echo;

// As many calls at once, for this long, of this size. In streams a call is a message and its answer.
struct Order {
  bool stream;
  int concurrency;
  int millis;
  int payload;
};

// Carries it out with as many threads, each with a completion queue and its share of the calls; the line of results.
std::string Obey(Echo::Stub& stub, const Order& order, int workers);
