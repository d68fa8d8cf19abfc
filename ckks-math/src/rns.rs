//! Residue number systems: conversion between bases.

pub mod convert;

pub use convert::BaseConverter;
