# A tier: a security group, and one instance in each subnet.

variable "name" {}
variable "vpc_id" {}
variable "subnets" { type = list(string) }
variable "ports" { type = map(number) }
variable "from" { type = object({ cidrs = list(string), groups = map(string) }) }
variable "outside" { default = true }

module "group" {
  source  = "./modules/group"
  name    = var.name
  vpc_id  = var.vpc_id
  ports   = var.ports
  from    = var.from
  outside = var.outside
}

resource "aws_instance" "this" {
  count                  = length(var.subnets)
  ami                    = "ami-0123456789abcdef0"
  instance_type          = "t3.small"
  subnet_id              = var.subnets[count.index]
  vpc_security_group_ids = [module.group.id]
}

output "group_id" { value = module.group.id }
