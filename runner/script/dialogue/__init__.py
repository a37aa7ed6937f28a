"""Who speaks in prose: a document whose lines are paragraphs → one whose quotes have speakers."""
