//! The laws.
#![no_std]
